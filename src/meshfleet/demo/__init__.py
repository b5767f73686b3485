"""Fleets that run themselves, as `meshfleet demo` and the examples show them, with a scripted model or a real one."""
