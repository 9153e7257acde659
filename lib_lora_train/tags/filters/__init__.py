"""The filter language: `tag:blue_eyes -tag:solo tokens:>75 (missing:trigger | size:<512) name:IMG_2*`.

    word, "several words"            the caption contains it; * and ? stand for any characters and for one
    tag:  text:  name:  concept:     a whole tag; the caption; the picture's name; the folder's name
    tokens:  tags:  chars:           numbers of the caption: >75, >=75, <75, <=75, 75, 50..75, 50.., ..75
    size:  width:  height:           of the picture in pixels; size is the short side
    has:caption  none:caption        missing:caption is the same as the latter
    has:trigger  missing:trigger     pictures for regularization need no trigger word and never miss it
    has:TAG  missing:TAG             as tag:TAG and -tag:TAG
    is:sentences  is:tags  is:regularization  is:broken
    a b, a AND b;  a OR b, a | b;  -a, NOT a;  ( )

Capitals make no difference, but in AND, OR and NOT. In tags and in words without quotes _ is a blank. What a keyboard for
Chinese writes for : ( ) | " < > = is understood too.
"""

from lib_lora_train.tags.filters.clicking import exclude, include, without
from lib_lora_train.tags.filters.grammar import Filter, parse_filter
from lib_lora_train.tags.filters.matching import select

__all__ = ["Filter", "exclude", "include", "parse_filter", "select", "without"]
