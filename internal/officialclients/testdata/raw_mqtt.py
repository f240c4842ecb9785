# SPDX-License-Identifier: Apache-2.0
"""Drives Debian's paho-mqtt by commands from a Go test, as driver.js does the official clients.

It knows MQTT and nothing of the service: topics, user names and tokens come from the test. It never connects again, and never subscribes again, by
itself.
"""
import json
import os
import queue
import socket
import sys
import threading

import paho.mqtt.client as mqtt

PATIENCE = 50  # seconds

output = threading.Lock()
connections = {}  # by name


class Connection:
    """One MQTT client over its connections."""

    def __init__(self, o):
        options = {"client_id": o["clientId"], "clean_session": o["clean"], "protocol": mqtt.MQTTv311, "reconnect_on_failure": False}
        if hasattr(mqtt, "CallbackAPIVersion"):  # paho-mqtt 2
            options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
        self.port = 8883
        if o.get("webSocket"):
            self.port, options["transport"] = 443, "websockets"
        self.client = mqtt.Client(**options)
        if o.get("webSocket"):
            self.client.ws_set_options(path=o["webSocket"])
        self.client.tls_set(ca_certs=o["ca"], certfile=o.get("cert"), keyfile=o.get("key"))
        self.user, self.host = o["username"], o["host"]
        self.messages, self.answers, self.ends = queue.Queue(), queue.Queue(), queue.Queue()
        self.grants = {}
        self.client.on_connect = lambda c, _, flags, rc: self.answers.put({"rc": int(rc), "sessionPresent": bool(flags["session present"])})
        self.client.on_disconnect = lambda c, _, rc: self.ends.put(int(rc))
        self.client.on_subscribe = lambda c, _, mid, granted: self.grant(mid).put([int(g) for g in granted])
        self.client.on_message = lambda c, _, m: self.messages.put(
            {"topic": m.topic, "payload": m.payload.decode(), "qos": m.qos, "dup": bool(m.dup)})

    def grant(self, mid):
        return self.grants.setdefault(mid, queue.Queue())

    def open(self, password):
        self.client.loop_stop()
        while not self.ends.empty():
            self.ends.get()
        self.client.username_pw_set(self.user, password)
        self.client.connect(self.host, self.port, keepalive=60)
        self.client.loop_start()
        return self.answers.get(timeout=PATIENCE)


def connect(o):
    """connect({name, host, clientId, username, password, clean, ca, cert, key, webSocket}) tells return code and SessionPresent."""
    c = connections[o["name"]] = Connection(o)
    return c.open(o.get("password"))


def reconnect(o):
    """reconnect({name, password}) connects again, and does nothing else."""
    return connections[o["name"]].open(o.get("password"))


def subscribe(o):
    """subscribe({name, filters, qos}) tells what was granted."""
    c = connections[o["name"]]
    _, mid = c.client.subscribe([(f, o["qos"]) for f in o["filters"]])
    return c.grant(mid).get(timeout=PATIENCE)


def publish(o):
    """publish({name, topic, payload, qos}) returns at the PUBACK."""
    info = connections[o["name"]].client.publish(o["topic"], o.get("payload"), o["qos"])
    info.wait_for_publish(PATIENCE)
    if not info.is_published():
        raise TimeoutError("no PUBACK")


def next_message(o):
    return connections[o["name"]].messages.get(timeout=PATIENCE)


def disconnect(o):
    """disconnect({name}) sends DISCONNECT."""
    c = connections[o["name"]]
    c.client.disconnect()
    return c.ends.get(timeout=PATIENCE)


def drop(o):
    """drop({name}) ends the connection without a DISCONNECT."""
    c = connections[o["name"]]
    socket.socket(fileno=os.dup(c.client.socket().fileno())).shutdown(socket.SHUT_RDWR)  # below TLS and WebSocket
    return c.ends.get(timeout=PATIENCE)


def ended(o):
    """ended({name}) waits until the server has ended the connection."""
    return connections[o["name"]].ends.get(timeout=PATIENCE)


commands = {
    "connect": connect, "reconnect": reconnect, "subscribe": subscribe, "publish": publish, "next": next_message,
    "disconnect": disconnect, "drop": drop, "ended": ended,
}


def answer(line):
    with output:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def run(request):
    try:
        answer({"id": request["id"], "result": commands[request["do"]](request["with"])})
    except Exception as e:  # the test decides whether that is one
        answer({"id": request["id"], "error": {"name": type(e).__name__, "message": str(e)}})


for line in sys.stdin:
    threading.Thread(target=run, args=(json.loads(line),), daemon=True).start()
os._exit(0)
