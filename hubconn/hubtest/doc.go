// Package hubtest simulates IoT hubs, and the small internet they live on, for tests of devices.
package hubtest
