"""modbus-tk and uModbus use the interlock: their_modbus.py PORT; prints JSON."""
# pyright: basic, reportMissingImports=false

import json
import socket
import sys

import modbus_tk.defines as cst
from modbus_tk import modbus_tcp
from modbus_tk.modbus import ModbusError
from umodbus.client import tcp
from umodbus.exceptions import IllegalDataAddressError

port = int(sys.argv[1])


def modbus_tk():
    master = modbus_tcp.TcpMaster("127.0.0.1", port, timeout_in_sec=5.0)
    read = [
        list(master.execute(1, cst.READ_DISCRETE_INPUTS, 0, 6)),
        list(master.execute(1, cst.READ_INPUT_REGISTERS, 0, 3)),
        list(master.execute(1, cst.WRITE_SINGLE_COIL, 0, output_value=1)),
        list(master.execute(1, cst.READ_COILS, 0, 5)),
        list(master.execute(1, cst.WRITE_MULTIPLE_COILS, 0, output_value=[0, 1, 0])),
        list(master.execute(1, cst.READ_COILS, 0, 5)),
        list(master.execute(1, cst.WRITE_MULTIPLE_REGISTERS, 0, output_value=[7, 1000])),
        list(master.execute(1, cst.READ_HOLDING_REGISTERS, 0, 3)),
    ]
    for function, address, value in ((cst.WRITE_SINGLE_REGISTER, 1, 50), (cst.READ_COILS, 4, 2)):
        try:
            master.execute(1, function, address, quantity_of_x=2, output_value=value)
        except ModbusError as error:
            read.append(error.get_exception_code())
    master.close()
    return read


def umodbus():
    with socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection:

        def send(message):
            return tcp.send_message(message, connection)

        read = [
            send(tcp.read_discrete_inputs(1, 0, 6)),
            send(tcp.write_single_coil(1, 4, 1)),
            send(tcp.read_coils(1, 0, 5)),
            send(tcp.write_single_register(1, 1, 0)),
            send(tcp.read_holding_registers(1, 1, 1)),
        ]
        try:
            send(tcp.read_input_registers(1, 3, 2))
        except IllegalDataAddressError:
            read.append("illegal address")
    return read


print(json.dumps({"modbus_tk": modbus_tk(), "umodbus": umodbus()}))
