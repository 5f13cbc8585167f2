"""Instruments that another program serves: what `opcua` and `sila2_feature` share."""
