from __future__ import annotations
from acquirer_bed import *

def test_sale(bed, terminal):
    reply = bed.pay(terminal, terminal.sale())
    print(reply.fields)
    print(bed.switch.received[0].fields)
    assert reply.fields[39] == "00"
