# SPDX-License-Identifier: Apache-2.0
"""SAS tokens, as the service's documentation describes them, for clients that make none themselves.

The signature is HMAC-SHA256 over the escaped resource, a line feed and the time of expiry. Azure docs: "Control access to IoT Hub with shared
access signatures", "Use symmetric keys over HTTPS without an SDK" (DPS).

    python3 sas.py RESOURCE EXPIRY [POLICY] < KEY
"""
import base64
import hashlib
import hmac
import sys
import urllib.parse


def token(resource, key, expiry, policy=None):
    """Returns a token for a resource that is good until expiry, in seconds since 1970."""
    text = "%s\n%d" % (urllib.parse.quote_plus(resource), expiry)
    fields = {"sr": resource, "sig": derive(key, text), "se": str(expiry)}
    if policy:
        fields["skn"] = policy
    return "SharedAccessSignature " + urllib.parse.urlencode(fields)


def derive(key, text):
    """Signs a text. Of the ID of a device, under its group's key, that is the key of the device."""
    return base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()


if __name__ == "__main__":
    print(token(sys.argv[1], sys.stdin.read().strip(), int(sys.argv[2]), *sys.argv[3:]))
