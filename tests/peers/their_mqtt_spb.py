"""mqtt-spb-wrapper 2.1.2 as an edge node with a device, or as a host; prints what it saw.

Worked around, as an edge node: it does nothing when it is asked to be born again; and a device has
a connection of its own, on which its birth may overtake that of its node. What we cannot work
around: its births call a metric `DATA/x` that its data call `x`, and the numbers of its births and
deaths (bdSeq) are not the same.
"""
# pyright: basic, reportMissingImports=false

import json
import queue
import sys
import threading
import time

from mqtt_spb_wrapper import MqttSpbEntityDevice, MqttSpbEntityEdgeNode, MqttSpbEntityScada


def until(seen, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > deadline:
            raise SystemExit("it did not come")
        time.sleep(0.02)


def edge(port):
    node = MqttSpbEntityEdgeNode("plant", "gateway")
    node.attributes.set_value("maker", "them")
    device = MqttSpbEntityDevice("plant", "gateway", "reactor")
    device.data.set_value("temperature", 20.5)
    device.data.set_value("level", 3)
    device.data.set_value("mode", "manual")
    device.data.set_value("setpoint", 25.0)
    device.commands.set_value("setpoint", 25.0)
    commanded = []

    def obey(payload):
        commanded.extend([each["name"], each["value"]] for each in payload["metrics"])
        device.data.set_value("setpoint", payload["metrics"][0]["value"])
        device.publish_data()

    births = queue.Queue()

    def be_born():
        while True:
            births.get()
            node.publish_birth()
            time.sleep(0.1)  # until it is there
            device.publish_birth()
            device.publish_data(send_all=True)

    device.on_command = obey
    assert node.connect("127.0.0.1", port)
    assert device.connect("127.0.0.1", port)
    node.commands.set_callback("Node Control/Rebirth", births.put)
    threading.Thread(target=be_born, daemon=True).start()
    births.put(True)
    until(lambda: commanded)
    time.sleep(0.3)
    device.disconnect()
    node.disconnect()
    return commanded


def host(port):
    births, data, deaths = [], [], []

    def named(payload):
        return {each["name"]: each.get("value") for each in payload["metrics"]}

    scada = MqttSpbEntityScada(
        "plant",
        "scada",
        callback_birth=lambda topic, payload: births.append([topic.message_type, named(payload)]),
        callback_data=lambda topic, payload: data.append(named(payload)),
        callback_death=lambda topic, payload: deaths.append([topic.message_type, named(payload)]),
    )
    assert scada.connect("127.0.0.1", port)
    time.sleep(0.3)  # until it has subscribed
    scada.send_command("Node Control/Rebirth", True, "gateway")
    until(lambda: len(births) >= 2)
    scada.send_command("setpoint", 42.5, "gateway", "reactor")
    until(lambda: any(each.get("setpoint") == 42.5 for each in data))
    until(lambda: deaths and len(births) >= 4)
    scada.disconnect()
    return {"births": births, "deaths": deaths}


print(json.dumps({"edge": edge, "host": host}[sys.argv[1]](int(sys.argv[2]))))
