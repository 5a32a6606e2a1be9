"""What all answers share."""

from marshmallow import EXCLUDE, Schema


class AnswerSchema(Schema):
    """Base of what is answered, never read."""

    class Meta:
        """An answer may gain members, so the document must not let clients refuse those that they do not know."""

        unknown = EXCLUDE
