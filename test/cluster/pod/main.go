// SPDX-License-Identifier: Apache-2.0

// The one program in every pod of the test cluster, and its client on the nodes:
//
//	pod idle              process 1 of a pod or a node: waits, reaps orphans, ends on SIGTERM
//	pod serve             answers on TCP port 8080 (HTTP) and UDP port 8081 with its own name and the client's address
//	pod call N SECONDS URL [CA]   N calls of so many seconds at most, each on a connection of its own, one answer a line;
//	                              udp://, http://, https:// (with CA)
//	pod lookup NAME       the addresses of a DNS name
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// Answer is what a backend says of a call.
type Answer struct {
	Pod    string `json:"pod"`
	Client string `json:"client"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "idle":
		return idle()
	case len(args) == 1 && args[0] == "serve":
		return serve()
	case (len(args) == 4 || len(args) == 5) && args[0] == "call":
		return callAll(args[1], args[2], args[3], args[4:])
	case len(args) == 2 && args[0] == "lookup":
		return lookup(args[1])
	}
	return fmt.Errorf("usage: pod idle | serve | call N SECONDS URL [CA] | lookup NAME")
}

func idle() error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM)
	for received := range signals {
		if received == syscall.SIGTERM {
			return nil
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}

func answer(name, client string) []byte {
	host, _, _ := net.SplitHostPort(client)
	line, _ := json.Marshal(Answer{Pod: name, Client: host})
	return line
}

func serve() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	datagrams, err := net.ListenPacket("udp", ":8081")
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		buffer := make([]byte, 1500)
		for {
			_, client, err := datagrams.ReadFrom(buffer)
			if err != nil {
				failed <- err
				return
			}
			datagrams.WriteTo(answer(name, client.String()), client)
		}
	}()
	go func() {
		failed <- http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Write(answer(name, r.RemoteAddr))
		}))
	}()
	return <-failed
}

func callAll(count, seconds, target string, ca []string) error {
	calls, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	patience, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return err
	}
	where, err := url.Parse(target)
	if err != nil {
		return err
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool()}
	for _, file := range ca {
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		trust.RootCAs.AppendCertsFromPEM(pem)
	}
	for range calls {
		line, err := call(where, trust, patience)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", line)
	}
	return nil
}

func call(where *url.URL, trust *tls.Config, patience time.Duration) ([]byte, error) {
	if where.Scheme == "udp" {
		return callDatagram(where.Host, patience)
	}
	client := http.Client{
		Timeout:   patience,
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust},
	}
	response, err := client.Get(where.String())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP status %s: %s", response.Status, body)
	}
	return body, err
}

func callDatagram(address string, patience time.Duration) ([]byte, error) {
	socket, err := net.Dial("udp", address)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	socket.SetDeadline(time.Now().Add(patience))
	if _, err := socket.Write([]byte("?")); err != nil {
		return nil, err
	}
	buffer := make([]byte, 1500)
	length, err := socket.Read(buffer)
	return buffer[:length], err
}

func lookup(name string) error {
	addresses, err := net.LookupHost(name)
	for _, address := range addresses {
		fmt.Println(address)
	}
	return err
}
