// SPDX-License-Identifier: Apache-2.0

// Package e2e is Kubernetes' own end-to-end suite as far as it is about the network: the specs are upstream's, only
// what starts them is here. test/kube/build.sh compiles it, test/cluster runs it.
//
//	e2e.test -images    the images that its pods are made of, a line each: the test program's, the pause program's
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	e2enode "k8s.io/kubernetes/test/e2e/framework/node"
	_ "k8s.io/kubernetes/test/e2e/network"
	"k8s.io/kubernetes/test/utils/image"
)

func TestMain(m *testing.M) {
	images := flag.Bool("images", false, "print the images that pods of the specs are made of")
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	if *images {
		fmt.Println(image.GetE2EImage(image.Agnhost))
		fmt.Println(image.GetPauseImageName())
		os.Exit(0)
	}
	framework.AfterReadingAllFlags(&framework.TestContext)
	os.Exit(m.Run())
}

func TestNetwork(t *testing.T) {
	gomega.RegisterFailHandler(framework.Fail)
	suite, reporter := framework.CreateGinkgoConfig()
	ginkgo.RunSpecs(t, "Kubernetes e2e: network", suite, reporter)
}

var _ = ginkgo.BeforeSuite(func(ctx context.Context) {
	client, err := framework.LoadClientset()
	framework.ExpectNoError(err)
	// The family of a Service that asks for none.
	framework.TestContext.IPFamily = string(v1.IPv4Protocol)
	ready := framework.NewTimeoutContext().NodeSchedulable
	framework.ExpectNoError(e2enode.WaitForAllNodesSchedulable(ctx, client, ready))
})
