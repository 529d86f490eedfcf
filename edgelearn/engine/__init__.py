"""The Delta LSTM in integers: forward pass, sparse BPTT, weight update; and their floating-point twin."""
