// Requests to this page's own server. Paths are relative to the page's address, which contains the token.

async function answer(response) {
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(document.error ?? `The server answered ${response.status}.`);
  return document;
}

/** Return the JSON of an answer; throws an Error with the server's sentence. */
export async function get(path) {
  return answer(await fetch(`api/${path}`));
}

export async function post(path, body = {}) {
  return answer(
    await fetch(`api/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }),
  );
}

/** Send bytes as they are, such as a file. */
export async function postBytes(path, bytes) {
  return answer(
    await fetch(`api/${path}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: bytes }),
  );
}
