"""WordPiece vocabulary of the miniature world: every word of its grammar is one token."""

import string

VOCABULARY_SIZE = 510
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PUNCTUATION = "!\"'()*,-./:;?#~&"
WORDS = """
a about above across all alone also an and another any anything apart appear appeared are arrow as at
away back background barely been before beginning behind below beside between big black blue blurred
border both bottom bright but by can candidate cannot center circle circles close closer column come
comes corner cover covered cross crosses dark detail diamond diamonds disappear disappeared distance does
done dot down edge else empty entered everything exactly faded far farther few filled first five four
fourth frame from full fully further get gets gone green grey ground grow grown half halfway has have
heart hearts height hidden hides high higher hollow image in inside into is it its just large last least
leave left less letter letters level little low lower many middle more most move moved moves moving much
near neither never next no nor normal not nothing now object objects of off on once one only orange other
others out outline over pale part partly pass passed passes past photo picture pictures pink place plain
pointing position purple red rest right ring rings row same scene second see seen seven shape shapes
sharp shown shows shrink shrunk side sides six size small smaller soon square squares star stars start
started starts still stop stopped straight stripe than that the their them then there these they thing
things third this three to together top touching toward towards triangle triangles turn turned two under
until up upper very view visible was way were what where which while white whole will with without yellow
yes yet you
"""


def vocabulary() -> list[str]:
    """The tokens in the order of their ids, in the manner of BERT's vocabulary file.

    Returns:
        `VOCABULARY_SIZE` tokens; ``[PAD]`` has id 0, the rest of the room is ``[unusedN]``.
    """
    letters = string.ascii_lowercase + string.digits
    pieces = [f"##{letter}" for letter in letters]
    tokens = [
        *SPECIAL_TOKENS,
        *PUNCTUATION,
        *letters,
        *pieces,
        *(word for word in WORDS.split() if len(word) > 1),
    ]
    tokens = list(dict.fromkeys(tokens))
    return tokens + [f"[unused{i}]" for i in range(VOCABULARY_SIZE - len(tokens))]
