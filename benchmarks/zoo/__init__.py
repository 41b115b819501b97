"""The zoo: small clean and backdoored models that thresholds are chosen on and error rates are measured on."""
