"""ebyd-scan: finds backdoors in model files before they ship."""
