// SPDX-License-Identifier: Apache-2.0

// Package https makes one HTTPS request as the device's clients make it: to DPS, to an IoT hub's
// device API and to the hub's storage account.
//
//	conn, err := https.Open(https.Options{TLSConfig: config, UserAgent: "sensor/1.0"})
//	if err != nil {
//		return err
//	}
//	defer conn.Close()
//	response, err := conn.Do(ctx, https.Request{
//		Method: http.MethodGet, URL: "https://contoso.azure-devices.net/",
//		Limit: time.Minute,
//	})
//
// What both clients need stands here once: TLS 1.2 at least and always verified, HTTP/1.1, limits
// on the response's header and body, a time limit whose cause says what it was, no redirect, no
// cookie, and no secret in an error.
//
// It never retries, and it judges no status: what a response means is for each client to say.
// [Response.Marked] and [IsHTML] help to tell a response of the service from the page of a proxy or
// a captive portal in between.
package https
