// SPDX-License-Identifier: Apache-2.0

package simnet_test

import (
	"fmt"
	"net/http"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// A client meets a name that does not exist, and then a certificate that does not verify.
func ExampleNetwork_SetFault() {
	network := simnet.New()
	defer network.Close()
	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
	client := &http.Client{Transport: &http.Transport{
		DialContext: network.DialContext, TLSClientConfig: network.TLSConfig(),
		DisableKeepAlives: true,
	}}
	request := func() {
		response, err := client.Head("https://hub-a.azure-devices.net/")
		if err != nil {
			fmt.Println(err)
			return
		}
		defer response.Body.Close()
		fmt.Println(response.Status)
	}

	request()
	network.SetFault(hub.Host(), simnet.NameNotFound)
	request()
	network.SetFault(hub.Host(), simnet.None)
	network.SetCertificate(hub.Host(), simnet.UnknownCA)
	request()
	fmt.Println(network.Dials(hub.Host()), "tries")
	// Output:
	// 404 Not Found
	// Head "https://hub-a.azure-devices.net/": dial tcp: lookup hub-a.azure-devices.net: no such host
	// Head "https://hub-a.azure-devices.net/": tls: failed to verify certificate: x509: certificate signed by unknown authority
	// 3 tries
}
