// The one program in every pod of the test cluster; the standard library alone.
module portolan.test/cluster/pod

go 1.26.0
