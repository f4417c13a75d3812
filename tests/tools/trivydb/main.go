// Command trivydb writes a vulnerability database for Trivy from a JSON description: trivy.db and metadata.json in a
// directory, both in db.tar.gz, and that as the artifact which Trivy pulls, in an OCI layout. It promises a database that
// Trivy takes for fresh for a year; it knows only what tests need of the schema (version 2 of trivy-db).
//
//	trivydb OUTPUT-DIRECTORY <DESCRIPTION
//
// The description:
//
//	{"debian 12": {"openssl": {"CVE-2026-0001": {"fixed": "3.0.99-1", "severity": "HIGH", "status": "fixed"}}}}
//
// The first key is the database's name for a release, the second a source package for Debian, Ubuntu and Alpine, or a binary
// package for the rpm distributions. An empty "fixed" means that there is no fix; "status" is Trivy's word for why.
package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// schema is the version of the database that every Trivy since 0.24 reads.
const schema = 2

// statuses and severities are stored as their index.
var (
	statuses = []string{"unknown", "not_affected", "affected", "fixed", "under_investigation", "will_not_fix",
		"fix_deferred", "end_of_life"}
	severities = []string{"UNKNOWN", "LOW", "MEDIUM", "HIGH", "CRITICAL"}
)

// advisory is one entry of the description.
type advisory struct {
	Fixed    string   `json:"fixed"`
	Severity string   `json:"severity"`
	Status   string   `json:"status"`
	Vendor   []string `json:"vendor"`
}

// description is release -> package -> vulnerability.
type description map[string]map[string]map[string]advisory

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "trivydb:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: trivydb OUTPUT-DIRECTORY <DESCRIPTION")
	}
	var wanted description
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wanted); err != nil {
		return fmt.Errorf("description: %w", err)
	}
	directory := os.Args[1]
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	if err := writeDatabase(filepath.Join(directory, "trivy.db"), wanted); err != nil {
		return err
	}
	if err := writeMetadata(filepath.Join(directory, "metadata.json")); err != nil {
		return err
	}
	if err := pack(directory, "db.tar.gz", "trivy.db", "metadata.json"); err != nil {
		return err
	}
	return writeLayout(filepath.Join(directory, "oci"), filepath.Join(directory, "db.tar.gz"))
}

func writeDatabase(path string, wanted description) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	database, err := bolt.Open(path, 0o644, nil)
	if err != nil {
		return err
	}
	err = database.Update(func(transaction *bolt.Tx) error {
		for release, packages := range wanted {
			if err := writeRelease(transaction, release, packages); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, database.Close())
}

func writeRelease(transaction *bolt.Tx, release string, packages map[string]map[string]advisory) error {
	family, _, _ := strings.Cut(release, " ")
	source := map[string]string{"ID": family, "Name": "tests", "URL": "https://example.org"}
	if err := put(transaction, source, "data-source", release); err != nil {
		return err
	}
	for name, vulnerabilities := range packages {
		for id, found := range vulnerabilities {
			status := slices.Index(statuses, found.Status)
			severity := slices.Index(severities, found.Severity)
			if found.Status != "" && status < 0 || found.Severity != "" && severity < 0 {
				return fmt.Errorf("%s: unknown status %q or severity %q", id, found.Status, found.Severity)
			}
			entry := map[string]any{"FixedVersion": found.Fixed, "Status": max(status, 0), "Severity": max(severity, 0)}
			if len(found.Vendor) > 0 {
				entry["VendorIDs"] = found.Vendor
			}
			if err := put(transaction, entry, release, name, id); err != nil {
				return err
			}
			detail := map[string]any{"Title": "made for a test", "Severity": found.Severity}
			if err := put(transaction, detail, "vulnerability", id); err != nil {
				return err
			}
		}
	}
	return nil
}

// put writes a value as JSON; all but the last part of the path are buckets.
func put(transaction *bolt.Tx, value any, path ...string) error {
	bytes, err := json.Marshal(value)
	if err != nil {
		return err
	}
	bucket, err := transaction.CreateBucketIfNotExists([]byte(path[0]))
	for _, name := range path[1 : len(path)-1] {
		if err != nil {
			return err
		}
		bucket, err = bucket.CreateBucketIfNotExists([]byte(name))
	}
	if err != nil {
		return err
	}
	return bucket.Put([]byte(path[len(path)-1]), bytes)
}

// writeMetadata says that the next update is due in a year, so that Trivy looks for none.
func writeMetadata(path string) error {
	now := time.Now().UTC()
	bytes, err := json.Marshal(map[string]any{
		"Version": schema, "UpdatedAt": now, "NextUpdate": now.AddDate(1, 0, 0), "DownloadedAt": now,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, bytes, 0o644)
}

func pack(directory, archive string, names ...string) error {
	file, err := os.Create(filepath.Join(directory, archive))
	if err != nil {
		return err
	}
	compressed := gzip.NewWriter(file)
	writer := tar.NewWriter(compressed)
	for _, name := range names {
		bytes, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			return err
		}
		header := tar.Header{Name: name, Mode: 0o644, Size: int64(len(bytes)), Typeflag: tar.TypeReg}
		if err := writer.WriteHeader(&header); err != nil {
			return err
		}
		if _, err := writer.Write(bytes); err != nil {
			return err
		}
	}
	return errors.Join(writer.Close(), compressed.Close(), file.Close())
}
