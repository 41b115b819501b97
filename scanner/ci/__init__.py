"""What CI systems need around a scan; `action.yml` runs it."""
