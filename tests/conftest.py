"""One thread for the small models of the tests: on a busy machine more only wait for each other."""

import torch

torch.set_num_threads(1)
