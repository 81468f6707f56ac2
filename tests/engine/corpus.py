"""Texts that tokenizers find hard, and real source code."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

STDLIB = Path(argparse.__file__).read_bytes()
"""Python source of the running interpreter."""

TORTURE = (
    "été naïve Straße “quoted” — 你好，世界 🙂👩‍👩‍👧 don't we'll I'VE 'Re ''ve x\t\ty  \n\n   z 123 4567\r\n"
    "  a\u2028b\u00a0 c\u3000d ١٢٣ ½ \u0301e\u0301 \ufeff \u200d \ue000 \U0010ffff _a__b = {'k': [1,2e-3]}\n"
    "\n\n\tif (x==1)&&!y:\r\n\r\n    return\t 'it''s' # <|im_end|><|endoftext|>\n   \n \n  \t 1  .  é   한국"
).encode()

CODE = textwrap.dedent(
    """
    class Shape:
        '''It's a shape.'''

        def area(self, width=10, height = 20):
            # don't   align
            total  =  0
            for i in range(0, 100):
                total += i * width

            return total


    def main():\treturn Shape().area(1234, 5)
    """
).encode()
