"""Other people's senders drive a Grbl at a port: their_grbl.py WHOSE /dev/pts/N; prints JSON."""
# pyright: basic, reportMissingImports=false

import json
import sys
import time


def grbl_streamer(port):
    """grbl-streamer 2.0.2: it polls, and streams a program by counting characters."""
    from grbl_streamer import GrblStreamer

    seen, states, errors = [], [], []

    def hear(event, *data):
        seen.append(event)
        if event == "on_stateupdate":
            states.append([data[0], list(data[1])])
        if event in ("on_error", "on_alarm"):
            errors.append(str(data[0]))

    grbl = GrblStreamer(hear)
    grbl.setup_logging()
    grbl.poll_interval = 0.05
    grbl.cnect(port, 115200)
    until(lambda: "on_boot" in seen)
    grbl.poll_start()
    grbl.killalarm()
    until(lambda: states and states[-1][0] == "Idle")
    lines = ["G21 G90 G94", "F6000"] + [f"G1 X{-10 - n * 0.5:.1f} Y-20" for n in range(40)]
    grbl.write("\n".join([*lines, "G1 Z-3"]))
    grbl.job_run()
    until(lambda: grbl.streaming_complete and states[-1] == ["Idle", [-29.5, -20.0, -3.0]])
    grbl.hash_state_requested = True
    until(lambda: "on_probe" in seen)
    offsets = grbl.settings_hash
    grbl.send_immediately("G1 X")
    until(lambda: errors)
    grbl.disconnect()
    return {
        "at": states[-1],
        "moved": any(state == "Run" for state, _ in states),
        "offsets": offsets["G54"],
        "errors": errors,
    }


def pygrbl_streamer(port):
    """pygrbl-streamer 1.0.5: resets, unlocks, homes, streams, and recovers."""
    from pygrbl_streamer import GrblStreamer

    grbl = GrblStreamer(port)
    grbl.connect()
    homed = grbl.home(timeout=10.0, wait_idle=True)
    at = grbl.last_status["raw"]
    lines = [f"G1 X{-5 - n * 0.25} Y-12 F3000" for n in range(60)]
    streamed = grbl.stream(iter(["G21", "G90", *lines]), total=62)
    refused = grbl.command("G2 X1")
    state = grbl.sync().name
    grbl.write_line("G1 X-200 F3000")
    time.sleep(0.3)
    grbl.stop()
    recovered = grbl.reset()
    grbl.sync()
    end = grbl.last_status["state"]
    grbl.disconnect()
    return {
        "homed": homed,
        "at": at,
        "streamed": bool(streamed),
        "refused": refused,
        "state": state,
        "recovered": recovered,
        "end": end,
    }


def gantrix(port):
    """gantrix 0.1.1: switches the tool off, unlocks, homes, moves."""
    from gantrix.transport import GrblError, GrblTransport

    said = []
    with GrblTransport(port, boot_delay=0.3) as grbl:
        grbl.home(timeout=10.0)
        said.append(grbl.send("G0 X-20 Y-10"))
        said.append(grbl.send("M3 S500"))
        said.append(grbl.send("M5"))
        try:
            grbl.send("G1 X")
        except GrblError as error:
            said.append(str(error))
    return said


def until(what, seconds=8.0):
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


# their reports go to stdout as well: ours is the last line
senders = {f.__name__: f for f in (grbl_streamer, pygrbl_streamer, gantrix)}
print(json.dumps(senders[sys.argv[1]](sys.argv[2])))
