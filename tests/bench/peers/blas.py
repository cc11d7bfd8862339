"""Matrix products by NumPy's BLAS or PyTorch, as a peer of peers.ts and the ceiling of main.ts.

Usage: python blas.py numpy|torch|cuda THREADS
The first line that it prints names library and version. Then every line of standard input, a product
and a number of repeats (see serve.ts), is answered by a line of JSON.
"""
import json
import os
import sys
import time

library, threads = sys.argv[1:]
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = threads  # read when the library is loaded

import numpy as np  # noqa: E402


def operand(count, seed):
    """Element i, as serve.ts makes it."""
    return (((np.arange(count) * 7 + seed) % 13) / 13 - 0.5).astype(np.float32)


class NumPy:
    name = "{name} {version}".format(
        **np.show_config(mode="dicts")["Build Dependencies"]["blas"])

    def matrix(self, values):
        return values

    def multiply(self, a, b):
        return np.matmul(a, b)

    def wait(self):
        pass


class Torch:
    def __init__(self, device):
        import torch
        torch.set_num_threads(int(threads))
        torch.backends.cuda.matmul.allow_tf32 = False
        self.torch, self.device = torch, device
        self.name = f"PyTorch {torch.__version__}, {device}"

    def matrix(self, values):
        return self.torch.from_numpy(values).to(self.device)

    def multiply(self, a, b):
        return self.torch.matmul(a, b)

    def wait(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()


def main():
    peer = NumPy() if library == "numpy" else Torch("cuda" if library == "cuda" else "cpu")
    print(json.dumps({"name": peer.name}), flush=True)
    prepared = {}
    for line in sys.stdin:
        request = json.loads(line)
        m, n, k, transposed, repeats = (
            request[name] for name in ("m", "n", "k", "transposeB", "repeats"))
        first = (m, n, k, transposed) not in prepared
        if first:
            b = operand(k * n, 2).reshape((n, k) if transposed else (k, n))
            b = peer.matrix(b)
            prepared[m, n, k, transposed] = (
                peer.matrix(operand(m * k, 1).reshape(m, k)), b.T if transposed else b)
        a, b = prepared[m, n, k, transposed]
        peer.wait()
        start = time.perf_counter()
        for _ in range(repeats):
            c = peer.multiply(a, b)
        peer.wait()
        milliseconds = 1000 * (time.perf_counter() - start)
        last = float(c[-1, -1]) if first else None
        print(json.dumps({"milliseconds": milliseconds, "last": last}), flush=True)


if __name__ == "__main__":
    main()
