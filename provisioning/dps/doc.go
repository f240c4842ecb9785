// Package dps makes one exchange with the Azure Device Provisioning Service (DPS), and says who the
// device is.
//
//	client := &dps.Client{
//		IDScope:     "0ne00ABCDEF",
//		Attestation: dps.SymmetricKey{ID: "sensor-042", Key: os.Getenv("DEVICE_KEY")},
//	}
//	assignment, err := client.Register(ctx, dps.Registration{})
//	if err != nil {
//		return err // a *dps.Error: retry.Classify and retry.After tell what it calls for
//	}
//	fmt.Println(assignment.Hub, assignment.DeviceID)
//
// A [Client] registers, looks a registration up and asks for the time, over HTTPS, MQTT or MQTT
// over WebSocket. It makes one attempt at what it is asked and never retries; the Device of package
// provisioning, one level up, owns the loop, remembers the [Assignment] and decides when DPS is
// asked. Use this package alone for programs with a loop of their own.
//
// [SymmetricKey] and [X509] say who the device is; [Attestation] is the interface behind them, for
// a key that lives in a secure element. [DeriveDeviceKey] makes a device's key from that of an
// enrollment group.
//
// Every failure is an [*Error] of one line, which never shows a key or a token.
//
// Sources: Azure REST API "Runtime Registration"; Azure docs "Communicate with DPS using the MQTT
// protocol", "How to use symmetric key attestation over HTTPS" and "DPS terminology".
package dps
