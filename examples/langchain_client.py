"""Use a run that `ftk serve RUN` serves in a LangChain chain (`pip install langchain-openai`)."""

from __future__ import annotations

import os
import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model=os.environ["FTK_RUN"],  # the run's name
    base_url=os.environ.get("FTK_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("FTK_KEY", "none"),
    temperature=0,
    max_tokens=120,
)
prompt = ChatPromptTemplate.from_messages([("user", "Answer in two sentences: {question}")])
chain = prompt | model | StrOutputParser()

for part in chain.stream({"question": " ".join(sys.argv[1:]) or "How do I reset my password?"}):
    print(part, end="", flush=True)
print()
