// SPDX-License-Identifier: Apache-2.0

// Package issued makes the request for an operational certificate, and checks the chain that the
// provisioning service or a hub returns for it.
//
//	request, err := issued.NewRequest(key, "sensor-042")
//	…
//	pair, err := issued.KeyPair(chain, key, "sensor-042", time.Now())
//
// It uses no network and reads no clock. No error quotes a certificate or a key.
//
// Sources: Azure docs "Certificate issuance" and "Certificate management concepts" of Azure IoT;
// Azure REST API: Device Registration, csr and issuedCertificateChain; RFC 2986 (PKCS #10), RFC
// 5280.
package issued
