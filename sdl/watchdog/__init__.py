"""The watchdog: a process beside the runtime that makes the lab safe when the runtime cannot.

    runtime ──beats──▶ watchdog ◀──STOP── sdl stop
            ◀──stop──          ──safe states──▶ instruments, if the runtime is gone

- `client.Watchdog` is the runtime's side: it starts the process and has the lab's loop beat.
- `python -m sdl.watchdog` (`process`) is the other side. When the beats stop, or the runtime dies,
  it ends the runtime (`kill -9`), opens the wires itself and sends the safe states (`reach`).
- `control` is where `sdl stop` knocks: a loopback port and a token in a file beside the journal.

Why a process, and why these times: docs/decisions/0010-watchdog.md. Nothing heavy is imported here:
`sdl stop` has to be quick.
"""
