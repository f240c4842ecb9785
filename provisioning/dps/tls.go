package dps

import (
	"context"
	"crypto/tls"
)

// tlsConfig is the caller's TLS configuration with the device's certificate, if it has one.
func (c *Client) tlsConfig(ctx context.Context) (*tls.Config, error) {
	config := c.anonymousTLSConfig()
	certificate, err := c.Attestation.Certificate(ctx)
	if err != nil {
		return nil, err
	}
	if certificate != nil {
		config.Certificates = nil
		// Whatever authorities the server lists: the service knows enrolled leaf certificates that no authority signed.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		// A front end may ask for the certificate only once it has seen the path, by TLS 1.2 renegotiation.
		config.Renegotiation = tls.RenegotiateOnceAsClient
	}
	return config, nil
}

// anonymousTLSConfig presents no certificate of the device.
func (c *Client) anonymousTLSConfig() *tls.Config {
	config := &tls.Config{}
	if c.TLSConfig != nil {
		config = c.TLSConfig.Clone()
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	config.ServerName = ""  // always that of the endpoint
	config.NextProtos = nil // HTTP/1.1 and MQTT need none, and HTTP/2 knows no renegotiation
	return config
}
