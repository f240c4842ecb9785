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
		// A front end may request the certificate only once it has seen the path, by TLS 1.2
		// renegotiation.
		config.Renegotiation = tls.RenegotiateOnceAsClient
	}
	return config, nil
}

// anonymousTLSConfig is a copy of the caller's TLS configuration, without a certificate of the
// device. Version, server name and protocols are set where the connection is made, by
// internal/https and internal/mqtt.
func (c *Client) anonymousTLSConfig() *tls.Config {
	if c.TLSConfig == nil {
		return &tls.Config{}
	}
	return c.TLSConfig.Clone()
}
