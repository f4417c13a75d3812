// The tool that writes a small vulnerability database for Trivy in tests: go.sum holds the checksum of every module.
module patchport.dev/tests/tools/trivydb

go 1.26.3

require go.etcd.io/bbolt v1.4.3

require golang.org/x/sys v0.29.0 // indirect
