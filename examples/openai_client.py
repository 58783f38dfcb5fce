"""Ask a run that `ftk serve RUN` serves, with OpenAI's own client (`pip install openai`)."""

from __future__ import annotations

import os
import sys

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("FTK_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("FTK_KEY", "none"),  # what --key-env asks for; anything where it asks for none
)
question = " ".join(sys.argv[1:]) or "How do I reset my password?"

for model in client.models.list():
    print(f"--- {model.id}")
    parts = client.chat.completions.create(
        model=model.id,
        messages=[{"role": "user", "content": question}],
        max_tokens=120,
        temperature=0,
        stream=True,
    )
    for part in parts:
        print(part.choices[0].delta.content or "", end="", flush=True)
    print()
