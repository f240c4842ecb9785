// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/dial"
)

// through sets a proxy, with a user name and a password.
func (w *world) through(scheme, host string) {
	w.dialer.Proxy = func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: scheme, Host: host, User: url.UserPassword("user", "secret")}, nil
	}
}

func TestEveryKindOfProxyCarriesEveryKindOfConnection(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("user:secret"))
	for _, to := range []string{"https", "mqtts"} {
		address := hub + map[string]string{"https": ":443", "mqtts": ":8883"}[to]
		connect := "CONNECT " + address + " Basic " + basic + " thermostat/1.0"
		socks := "SOCKS " + address + " user:secret"
		for proxy, want := range map[string]struct{ dialed, asked string }{
			"http://proxy.example":         {"proxy.example:80", connect},
			"http://proxy.example:3128":    {"proxy.example:3128", connect},
			"https://proxy.example":        {"proxy.example:443", connect},
			"socks5://proxy.example":       {"proxy.example:1080", socks},
			"socks5h://proxy.example":      {"proxy.example:1080", socks},
			"socks5h://proxy.example:1081": {"proxy.example:1081", socks},
		} {
			explore(t, func(w *world) {
				scheme, host, _ := strings.Cut(proxy, "://")
				serve := w.tunnel
				switch {
				case scheme == "https":
					serve = w.secured(w.network.CA().Server("proxy.example"), w.tunnel)
				case strings.HasPrefix(scheme, "socks"):
					serve = w.socks(0)
				}
				w.proxies[want.dialed] = serve
				w.through(scheme, host)
				config := w.dialer.TLSConfig
				config.Certificates = []tls.Certificate{w.network.CA().Device("of the config")}
				require.NoError(w, w.speak(to), "%s %s", to, proxy)
				device := w.network.CA().Device("dev1")
				w.dialer.Certificate = &device
				require.NoError(w, w.speak(to), "%s %s", to, proxy)
				assert.Equal(w, []string{want.dialed, want.dialed}, w.dials, "no name is looked up")
				assert.Equal(w, []string{want.asked, want.asked}, w.asked, "and no certificate")
				assert.Equal(w, []string{"of the config", "dev1"}, w.shown)
			})
		}
	}
}

func TestAProxyNeedsNoPassword(t *testing.T) {
	for scheme, asked := range map[string]string{
		"http":   "CONNECT " + hub + ":443  thermostat/1.0",
		"socks5": "SOCKS " + hub + ":443 nobody",
	} {
		explore(t, func(w *world) {
			w.proxies["proxy.example:1"] = w.tunnel
			if scheme == "socks5" {
				w.proxies["proxy.example:1"] = w.socks(0)
			}
			w.dialer.Proxy = http.ProxyURL(&url.URL{Scheme: scheme, Host: "proxy.example:1"})
			require.NoError(w, w.speak("https"))
			assert.Equal(w, []string{asked}, w.asked)
		})
	}
}

func TestTheProxyIsChosenBySchemeAndHostAndSeesNoMore(t *testing.T) {
	explore(t, func(w *world) {
		var asked []string
		w.dialer.Proxy = func(r *http.Request) (*url.URL, error) {
			asked = append(asked, r.Method+" "+r.URL.String())
			assert.Empty(w, r.Header)
			assert.NotNil(w, r.Context())
			return nil, nil
		}
		require.NoError(w, w.speak("https"))
		require.NoError(w, w.speak("mqtts"))
		assert.Equal(w, []string{"GET https://hub.example/", "GET mqtts://hub.example/"}, asked)
		assert.Equal(w, []string{"hub.example:443", "hub.example:8883"}, w.dials)
	})
}

func TestAProxysRefusalTellsItsStatusAndNoSecret(t *testing.T) {
	explore(t, func(w *world) {
		w.proxies["proxy.example:3128"] = func(nc net.Conn) {
			_, _ = nc.Read(make([]byte, 4096))
			_, _ = io.WriteString(nc, "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n"+
				"Content-Length: 5000\r\n\r\n"+strings.Repeat("x", 5000))
		}
		w.through("http", "proxy.example:3128")
		for _, to := range []string{"https", "mqtts"} {
			err := w.speak(to)
			refused, ok := errors.AsType[*dial.RefusedError](err)
			require.True(w, ok, "%v", err)
			assert.Equal(w, 407, refused.Status)
			assert.Equal(w, "Basic", refused.Header.Get("Proxy-Authenticate"))
			assert.Len(w, refused.Body, 1024)
			assert.NotContains(w, err.Error(), "secret")
		}
	})
}

func TestWhatASOCKSProxySaysIsTold(t *testing.T) {
	answers := func(b ...byte) func(*world) func(net.Conn) {
		return func(*world) func(net.Conn) {
			return func(nc net.Conn) {
				_, _ = nc.Read(make([]byte, 4096))
				if _, _ = nc.Write(b); len(b) > 1 {
					_, _ = nc.Read(make([]byte, 4096))
				}
			}
		}
	}
	for want, serve := range map[string]func(*world) func(net.Conn){
		"host unreachable":               func(w *world) func(net.Conn) { return w.socks(4) },
		"code 200":                       func(w *world) func(net.Conn) { return w.socks(200) },
		"speaks version 72":              answers([]byte("HTTP/1.1 400")...),
		"no way to authenticate":         answers(5, 0xff),
		"refused user name and password": answers(5, 2, 1, 1),
		"EOF":                            answers(5),
	} {
		explore(t, func(w *world) {
			w.proxies["proxy.example:1080"] = serve(w)
			w.through("socks5", "proxy.example")
			err := w.speak("mqtts")
			require.ErrorContains(w, err, want)
			assert.NotContains(w, err.Error(), "secret")
			assert.NotContains(w, err.Error(), "\n")
		})
	}
}

func TestAProxySettingThatIsOfNoUseIsTold(t *testing.T) {
	for _, proxy := range []*url.URL{
		{Scheme: "ftp", Host: "proxy.example"}, {Host: "proxy.example"}, {Scheme: "http"},
		{Scheme: "mqtts", Host: "proxy.example"},
	} {
		explore(t, func(w *world) {
			proxy.User = url.UserPassword("user", "secret")
			w.dialer.Proxy = http.ProxyURL(proxy)
			err := w.speak("https")
			require.ErrorContains(w, err, "the proxy setting (HTTPS_PROXY")
			assert.NotContains(w, err.Error(), "secret")
			assert.Empty(w, w.dials)
		})
	}
}

func TestAProxyWhoseCertificateDoesNotVerifyIsToldNothing(t *testing.T) {
	explore(t, func(w *world) {
		other := simnet.NewCA("Another Root", w.network.Now())
		w.proxies["proxy.example:443"] = w.secured(other.Server("proxy.example"), w.tunnel)
		w.through("https", "proxy.example")
		require.ErrorContains(w, w.speak("https"), "unknown authority")
		assert.Empty(w, w.asked)
	})
}

func TestASOCKSProxyIsToldAddressesAsSuch(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		explore(t, func(w *world) {
			w.network.SetDefault(hub)
			w.proxies["proxy.example:1080"] = w.socks(0)
			w.through("socks5", "proxy.example")
			address := net.JoinHostPort(host, "8883")
			nc, err := w.dialer.TLS(w.Context(), &url.URL{Scheme: "mqtts", Host: address})
			require.NoError(w, err)
			assert.Equal(w, []string{"SOCKS " + address + " user:secret"}, w.asked)
			_ = nc.Close()
		})
	}
	explore(t, func(w *world) {
		w.proxies["proxy.example:1080"] = w.socks(0)
		w.through("socks5", "proxy.example")
		long := &url.URL{Scheme: "mqtts", Host: strings.Repeat("x", 256)}
		_, err := w.dialer.TLS(w.Context(), long)
		require.ErrorContains(w, err, "longer than the 255 bytes")
	})
}

// keys notes under which keys sessions are asked for and kept.
type keys map[string]bool

func (k keys) Get(key string) (*tls.ClientSessionState, bool) { k[key] = true; return nil, false }

func (k keys) Put(key string, _ *tls.ClientSessionState) { k[key] = true }

func TestNoSessionWithAProxyIsKept(t *testing.T) {
	explore(t, func(w *world) {
		w.proxies["proxy.example:443"] = w.secured(
			w.network.CA().Server("proxy.example"), w.tunnel,
		)
		w.through("https", "proxy.example")
		kept := keys{}
		w.dialer.TLSConfig.ClientSessionCache = kept
		require.NoError(w, w.speak("https"))
		assert.Equal(w, keys{"rehome anonymous " + hub: true}, kept)
	})
}
