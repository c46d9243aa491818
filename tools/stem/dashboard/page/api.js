// Asks the program that served this page, and nobody else.

const TOKEN = 'stem-token'; // for this tab, until it is closed

export class Refused extends Error {
  constructor(status, message, hint) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? '',
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}) };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: 'omit', signal: AbortSignal.timeout(20_000) });
  } catch {
    throw new Refused(0, 'the dashboard does not answer', 'is `stem dashboard` still running?');
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body.error ?? `HTTP ${response.status}`, body.hint);
  return body;
}

export const query = (parameters) => {
  const kept = Object.entries(parameters).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  return kept.length === 0 ? '' : `?${new URLSearchParams(kept)}`;
};

export const get = (path, parameters = {}) => ask(path + query(parameters));
export const post = (path, body) =>
  ask(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
