"""docs/rest.md, made from the table of routes: `python -m lib_lora_train.api.document > docs/rest.md`."""

from __future__ import annotations

import sys

from lib_lora_train.api.mounting import PREFIX, ROUTES
from lib_lora_train.api.policies import rule_of

HEAD = f"""# REST routes

All lie below `{PREFIX}` and speak JSON, but for uploads (`application/octet-stream`), pictures and downloads.
An error is `{{"error": {{"code", "where", "sentence", "remedy"}}}}`, in English or Chinese as `Accept-Language` asks;
codes are stable, words are not. Where the host shows its API (`/docs`), bodies and queries stand there in full.

## Who may call

| policy | server reached from this machine only | from other machines, no login | with a login |
| --- | --- | --- | --- |
| open | everybody | everybody | everybody |
| read | everybody | its own page | its own page, or a login |
| write | everybody | its own page | its own page, or a login |
| folders | everybody, unless folders are hidden | nobody | only on a server reached from this machine |

"Its own page" sends the token it got when it was opened, as the header `X-Lora-Train`; pictures and downloads know it by
a cookie, which changes nothing. "A login" is name and password of the REST calls (Basic), where the server has them, or
the login of the page. A launch flag opens reading and writing calls without a page on a server that has no login.
A request that a page of another site made is refused everywhere; nothing is ever changed by a GET.

## Routes

| | address | policy | what it does |
| --- | --- | --- | --- |
"""

SCRIPT = """
## From a script

Make a project, send pictures and captions, train with planned settings, wait, fetch the LoRA. `jq` reads the answers.
Captions are files with the picture's name; a zip of both works too.

```sh
BASE=http://127.0.0.1:7861/lora-train/v1
AUTH=                      # with a login: AUTH="--user name:password"
JSON="Content-Type: application/json"

project=$(curl -sS --fail-with-body $AUTH -H "$JSON" "$BASE/projects" \\
  -d '{"title": "Zuna", "kind": "character", "trigger_word": "zuna"}' | jq -r .id)

for file in pictures/*; do
  name=$(jq -rn --arg name "$(basename "$file")" '$name|@uri')
  curl -sS --fail-with-body $AUTH -H "Content-Type: application/octet-stream" \\
    --data-binary @"$file" "$BASE/projects/$project/files?name=$name"
done

run=$(curl -sS --fail-with-body $AUTH -H "$JSON" "$BASE/projects/$project/runs" \\
  -d '{"wishes": {"kind": "character", "medium": "auto", "choice": "balanced", "checkpoint": ""}}' | jq -r .run)

while state=$(curl -sS $AUTH "$BASE/projects/$project/runs/$run" | jq -r .state); do
  case $state in queued|running) sleep 10 ;; *) break ;; esac
done
echo "$state"

file=$(curl -sS $AUTH "$BASE/projects/$project/runs/$run" | jq -r '.files[-1].name')
curl -sS --fail $AUTH -o "$file" "$BASE/projects/$project/runs/$run/files/$file"
```
"""


def rest_markdown() -> str:
    """The whole page."""
    rows = []
    for method, path, endpoint in ROUTES:
        summary = (endpoint.__doc__ or "").strip().splitlines()[0]
        rows.append(f"| {method} | `{path}` | {rule_of(endpoint).policy.value} | {summary} |")
    return HEAD + "\n".join(rows) + "\n" + SCRIPT


if __name__ == "__main__":
    sys.stdout.write(rest_markdown())
