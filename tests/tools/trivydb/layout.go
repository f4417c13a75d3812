package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
)

// descriptor is an OCI descriptor.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// writeLayout writes the artifact that Trivy pulls as an OCI layout, tagged with the schema's version: copy it to a registry
// with `skopeo copy oci:DIRECTORY:2 docker://...`.
func writeLayout(directory, archive string) error {
	blobs := filepath.Join(directory, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	put := func(mediaType string, bytes []byte) (descriptor, error) {
		sum := sha256.Sum256(bytes)
		name := hex.EncodeToString(sum[:])
		err := os.WriteFile(filepath.Join(blobs, name), bytes, 0o644)
		return descriptor{MediaType: mediaType, Digest: "sha256:" + name, Size: len(bytes)}, err
	}
	bytes, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	layer, err := put("application/vnd.aquasec.trivy.db.layer.v1.tar+gzip", bytes)
	if err != nil {
		return err
	}
	layer.Annotations = map[string]string{"org.opencontainers.image.title": "db.tar.gz"}
	config, err := put("application/vnd.aquasec.trivy.config.v1+json", []byte("{}"))
	if err != nil {
		return err
	}
	bytes, err = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": []descriptor{layer},
	})
	if err != nil {
		return err
	}
	manifest, err := put(manifestType, bytes)
	if err != nil {
		return err
	}
	manifest.Annotations = map[string]string{"org.opencontainers.image.ref.name": "2"}
	bytes, err = json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(directory, "index.json"), bytes, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}
