"""pysparkplug 0.6.1 as an edge node with a device, or as a host; prints what it saw.

What it lacks as an edge node: it cannot be born again when it is asked to be.
"""
# pyright: basic, reportMissingImports=false

import json
import sys
import time

import pysparkplug as psp


def until(seen, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > deadline:
            raise SystemExit("it did not come")
        time.sleep(0.02)


def metric(name, datatype, value):
    return psp.Metric(psp.get_current_timestamp(), name, datatype, value=value)


def edge(port):
    commanded = []

    def obey(node, message):
        for each in message.payload.metrics:
            commanded.append([each.name, each.value])
            node.update_device("reactor", (metric(each.name, each.datatype, each.value),))

    first = (
        metric("temperature", psp.DataType.FLOAT, 20.5),
        metric("level", psp.DataType.INT16, -3),
        metric("mode", psp.DataType.STRING, "manual"),
        metric("setpoint", psp.DataType.DOUBLE, 25.0),
    )
    node = psp.EdgeNode("plant", "gateway", (metric("up", psp.DataType.BOOLEAN, True),))
    node.register(psp.Device("reactor", first, cmd_callback=obey))
    node.connect("127.0.0.1", port=port)
    time.sleep(0.5)
    for n in range(300):  # round the sequence number
        node.update_device("reactor", (metric("level", psp.DataType.INT16, -n),))
    until(lambda: commanded)
    time.sleep(0.3)
    node.deregister("reactor")
    node.disconnect()
    return commanded


def host(port):
    seen, client = [], psp.Client()

    def note(_, message):
        kind = str(message.topic.message_type)
        death = getattr(message.payload, "bd_seq_metric", None)
        metrics = [death] if death else getattr(message.payload, "metrics", ())
        if "CMD" not in kind:
            seen.append([kind, {each.name: each.value for each in metrics}])

    births = [psp.MessageType.NBIRTH, psp.MessageType.DBIRTH]
    for kind in (*births, psp.MessageType.DDATA, psp.MessageType.NDEATH):
        device = "reactor" if kind.startswith("D") else None
        topic = psp.Topic(
            message_type=kind, group_id="plant", edge_node_id="gateway", device_id=device
        )
        client.subscribe(topic, psp.QoS.AT_LEAST_ONCE, note)
    client.connect("127.0.0.1", port=port)
    time.sleep(0.3)

    def tell(kind, payload, device=None):
        topic = psp.Topic(
            message_type=kind, group_id="plant", edge_node_id="gateway", device_id=device
        )
        message = psp.Message(topic, payload, psp.QoS.AT_MOST_ONCE, False)
        client.publish(message, include_dtypes=True)

    def command(name, datatype, value):
        return {
            "timestamp": psp.get_current_timestamp(),
            "metrics": (metric(name, datatype, value),),
        }

    rebirth = command("Node Control/Rebirth", psp.DataType.BOOLEAN, True)
    tell(psp.MessageType.NCMD, psp.NCmd(**rebirth))
    until(lambda: [kind for kind, _ in seen] == ["NBIRTH", "DBIRTH"])
    write = command("setpoint", psp.DataType.DOUBLE, 42.5)
    tell(psp.MessageType.DCMD, psp.DCmd(**write), "reactor")
    until(lambda: ["DDATA", {"setpoint": 42.5}] in seen)
    until(lambda: any(kind == "NDEATH" for kind, _ in seen) and seen[-1][0] == "DBIRTH")
    client.disconnect()
    return seen


print(json.dumps({"edge": edge, "host": host}[sys.argv[1]](int(sys.argv[2]))))
