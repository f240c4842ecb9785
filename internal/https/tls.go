package https

import (
	"crypto/tls"
	"errors"
)

// TLSConfig is a copy of a program's TLS configuration, nil for none, with what holds for every
// connection of the device, whatever runs over it: TLS 1.2 at least, no ALPN, and no session cache
// where a client certificate is presented. InsecureSkipVerify is an error.
//
// A session is cached under the name of the server and resumed with the identity it was made with.
// So a cache would let the next device, or a renewed certificate, in as the one before.
func TLSConfig(base *tls.Config) (*tls.Config, error) {
	config := &tls.Config{}
	if base != nil {
		config = base.Clone()
	}
	if config.InsecureSkipVerify {
		return nil, errors.New("InsecureSkipVerify is refused: " +
			"put the server's authority into TLSConfig.RootCAs")
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	config.NextProtos = nil
	if len(config.Certificates) > 0 || config.GetClientCertificate != nil {
		config.ClientSessionCache = nil
	}
	return config, nil
}
