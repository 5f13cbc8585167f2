"""Other people's Dashboard clients: their_universal_robots.py WHOSE PORT; prints JSON."""
# pyright: basic, reportMissingImports=false

import json
import sys
import time


def ur_rtde(port):
    """ur-rtde 1.6.5, DashboardClient."""
    from dashboard_client import DashboardClient

    client = DashboardClient("127.0.0.1", port)
    client.connect(3000)
    said = [client.isConnected(), client.polyscopeVersion(), client.getRobotModel()]
    said += [client.getSerialNumber(), client.isInRemoteControl(), client.robotmode()]
    client.powerOn()
    while "IDLE" not in client.robotmode():
        time.sleep(0.05)
    client.brakeRelease()
    while "RUNNING" not in client.robotmode():
        time.sleep(0.05)
    client.loadURP("pick.urp")
    said += [client.getLoadedProgram(), client.programState(), client.isProgramSaved()]
    client.play()
    said += [client.running(), client.programState(), client.safetystatus()]
    client.pause()
    said.append(client.programState())
    client.play()
    client.stop()
    said += [client.running(), client.safetymode()]
    client.popup("hello")
    client.closePopup()
    client.closeSafetyPopup()
    client.unlockProtectiveStop()
    client.addToLog("seen")
    for refused in (lambda: client.loadURP("nothing.urp"), client.stop):
        try:
            refused()
        except RuntimeError as error:
            said.append(str(error).strip())
    client.powerOff()
    said.append(client.robotmode())
    client.quit()
    client.disconnect()
    return said


def universal_robots_clients(port):
    """universal-robots-clients 0.4.0: a connection for each command."""
    from universal_robots_clients import dashboard_client as theirs

    def use(command, *arguments):
        return command("127.0.0.1", *arguments, port=port)

    return [
        use(theirs.send_command, "robotmode"),
        use(theirs.load_and_play_program, "pick.urp"),
        use(theirs.get_program_state),
        use(theirs.pause_program),
        use(theirs.stop_program),
        use(theirs.send_command, "dance"),
    ]


clients = {f.__name__: f for f in (ur_rtde, universal_robots_clients)}
print(json.dumps(clients[sys.argv[1]](int(sys.argv[2]))))
