// SPDX-License-Identifier: MIT
/**
 * The browser's side of a session: whether there is one, renewing it, ending it, and a fetch that renews by itself.
 *
 * The names and their meaning are those of SuperTokens' web SDK. Unlike there, the server writes every cookie, and
 * this module only reads two of them, unless the session's API is another server, which may leave them to scripts:
 *   sFrontToken                    base64 of {"uid": user id, "ate": expiry in ms, "up": the access token's payload}
 *   st-last-access-token-update    changes with every new access token and stays when the session ends
 * Only the second one there: nobody is signed in. The second one missing: unknown, so the server has to be asked.
 *
 * Source: SuperTokens FDI specification, sessions; supertokens-website 20.1.
 *
 * @typedef {{uid: string, ate: number, up: Record<string, any> & {iat: number, exp: number}}} FrontToken
 * @typedef {{type: "signed-in" | "signed-out" | "renewed", userId: string | null}} SessionEvent
 */

const FRONT_TOKEN = "sFrontToken";
const LAST_UPDATE = "st-last-access-token-update";
const ANTI_CSRF = "sAntiCsrf";
const LOCK = "stormcellar-refresh";
const FDI_VERSIONS = "3.1,4.0,4.1";
const SKEW_KEY = "stormcellar-clock-skew-ms";
const VISITOR_KEY = "stormcellar-visitor";
const SMALLEST_SKEW_MS = 7000; // less than that may be the reply's way through the network
const REFRESH_TIMEOUT_MS = 20_000; // a hung request must not hold the lock; asking again is safe

const api = document.querySelector('meta[name="session-api"]');
const apiBase = new URL(api?.content ?? "/auth", location.origin).href.replace(/\/$/, "");
const keepsCookies = api?.dataset.keepCookies !== undefined;
const KEPT_S = 400 * 86_400; // browsers keep no cookie longer

const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("stormcellar-session") : null;

/** @type {Promise<boolean> | null} */
let refreshUnderWay = null;

/**
 * Renews the session, unless another tab has just done so.
 *
 * @returns {Promise<boolean>} true: there is a fresh access token; false: there is no session (any more)
 * @throws {Response} the server answered with an error other than 401; the session may still be alive
 * @throws {TypeError | DOMException} the server could not be reached, or took too long
 */
export function attemptRefreshingSession() {
  return refreshSince(cookie(LAST_UPDATE));
}

/**
 * Whether somebody is signed in. Asks the server only if the access token has expired or nothing is known;
 * a session that was revoked elsewhere counts until then.
 *
 * @returns {Promise<boolean>}
 */
export async function doesSessionExist() {
  const token = readFrontToken();
  if (token && !hasExpired(token)) return true;
  return attemptRefreshingSession().catch(() => false);
}

/**
 * @returns {Promise<string>} the user id, also if the access token has expired
 * @throws {Error} nobody is signed in
 */
export async function getUserId() {
  const token = readFrontToken() ?? (await freshFrontToken());
  return token.uid;
}

/**
 * @returns {Promise<Record<string, any>>} the payload of an access token that has not expired
 * @throws {Error} nobody is signed in; or as attemptRefreshingSession does
 */
export async function getAccessTokenPayloadSecurely() {
  const token = readFrontToken();
  return token && !hasExpired(token) ? token.up : (await freshFrontToken()).up;
}

/**
 * Ends the session on the server, and tells the other tabs.
 *
 * @throws {Response | Error} the server did not end it
 */
export async function signOut() {
  if (!knowsNoSession()) {
    const response = await fetch(`${apiBase}/signout`, { method: "POST", headers: sessionHeaders() });
    if (response.status >= 300 && response.status !== 401) throw response;
    const answer = response.ok ? await response.json() : {};
    if (answer.status === "GENERAL_ERROR") throw new Error(answer.message);
  }
  announceVisitor();
}

/**
 * window.fetch, which for this site and the session's API renews the session on a 401 and then asks once more.
 *
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} the last answer; if renewing failed with an error of the server, that answer
 */
export async function fetch(input, init) {
  const request = new Request(input, init);
  if (!isOurs(new URL(request.url).origin)) return window.fetch(request);

  const lastUpdate = cookie(LAST_UPDATE);
  const response = keepCookies(await window.fetch(withSessionHeaders(request.clone())));
  if (response.status !== 401 || response.headers.get("front-token") === "remove") return response;

  try {
    if (!(await refreshSince(lastUpdate))) return response;
  } catch (error) {
    if (error instanceof Response) return error;
    throw error;
  }
  return keepCookies(await window.fetch(withSessionHeaders(request)));
}

/**
 * Hears what happens to the session in other tabs.
 *
 * @param {(event: SessionEvent) => void} callback
 * @returns {() => void} stops hearing
 */
export function onSessionEvent(callback) {
  const listener = ({ data }) => callback(data);
  channel?.addEventListener("message", listener);
  return () => channel?.removeEventListener("message", listener);
}

/**
 * Tells the other tabs who is signed in now, if that is news in this browser. Sign-in by a plain form happens
 * between two pages, so each page calls this.
 */
export function announceVisitor() {
  const userId = readFrontToken()?.uid ?? "";
  if (userId === (recall(VISITOR_KEY) ?? "") || !remember(VISITOR_KEY, userId)) return;
  announce(userId ? "signed-in" : "signed-out");
}

/**
 * What the readable cookies say, without judging it.
 *
 * @returns {FrontToken | undefined} undefined without a session and if it cannot be read
 */
export function readFrontToken() {
  try {
    const bytes = Uint8Array.from(atob(cookie(FRONT_TOKEN) ?? ""), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** @returns {string} a text that is another one after every renewal, sign-in and sign-out */
export function sessionFingerprint() {
  return `${cookie(LAST_UPDATE)} ${cookie(FRONT_TOKEN)}`;
}

/** @returns {number} the server's clock in ms, as well as it is known here */
export function serverNowMs() {
  return Date.now() + Number(recall(SKEW_KEY) ?? 0);
}

/**
 * @param {string | undefined} lastUpdate the update that the caller saw when its work began
 * @returns {Promise<boolean>}
 */
function refreshSince(lastUpdate) {
  refreshUnderWay ??= oneTabAtATime(() => refreshUnlessDone(lastUpdate)).finally(() => {
    refreshUnderWay = null;
  });
  return refreshUnderWay;
}

// Without Web Locks (plain http on another host than localhost) two tabs may both ask: the server gives both the
// same next token.
const oneTabAtATime = (work) => (navigator.locks ? navigator.locks.request(LOCK, work) : work());

async function refreshUnlessDone(lastUpdate) {
  if (knowsNoSession()) return false;
  if (cookie(FRONT_TOKEN) && cookie(LAST_UPDATE) !== lastUpdate) return true;

  let response = await requestRefresh();
  // A success without a front token: the server has only cleared cookies that the browser held twice.
  if (response.ok && !response.headers.has("front-token")) response = await requestRefresh();

  keepCookies(response, response.status === 401 ? "remove" : null);
  const isGone = response.status === 401 || response.headers.get("front-token") === "remove";
  if (!response.ok && !isGone) throw response;
  announceVisitor();
  if (isGone) return false;
  rememberClockSkew();
  announce("renewed");
  return true;
}

const requestRefresh = () =>
  window.fetch(`${apiBase}/session/refresh`, {
    method: "POST",
    credentials: "include",
    headers: sessionHeaders(),
    signal: AbortSignal.timeout(REFRESH_TIMEOUT_MS),
  });

const sessionHeaders = () => ({ rid: "session", "fdi-version": FDI_VERSIONS, ...antiCsrfHeader() });

/** Under anti_csrf=VIA_TOKEN the server leaves a token in a cookie that other sites cannot read. */
function antiCsrfHeader() {
  const token = cookie(ANTI_CSRF);
  return token ? { "anti-csrf": token } : {};
}

/** @param {Request} request */
function withSessionHeaders(request) {
  const ours = new Request(request, { credentials: "include" });
  if (!ours.headers.has("rid")) ours.headers.set("rid", "anti-csrf");
  for (const [name, value] of Object.entries(antiCsrfHeader())) ours.headers.set(name, value);
  return ours;
}

const isOurs = (origin) => origin === location.origin || origin === new URL(apiBase).origin;

const knowsNoSession = () => !cookie(FRONT_TOKEN) && Boolean(cookie(LAST_UPDATE));

/** @param {FrontToken} token */
const hasExpired = (token) => token.ate <= serverNowMs();

/** @returns {Promise<FrontToken>} */
async function freshFrontToken() {
  const token = (await attemptRefreshingSession()) ? readFrontToken() : undefined;
  if (!token) throw new Error("No session exists");
  return token;
}

/** A token has just been issued: how far is the server's clock ahead of this one? */
function rememberClockSkew() {
  const token = readFrontToken();
  if (!token) return;
  const skewMs = token.up.iat * 1000 - Date.now();
  remember(SKEW_KEY, String(Math.abs(skewMs) < SMALLEST_SKEW_MS ? 0 : skewMs));
}

/** @param {SessionEvent["type"]} type */
function announce(type) {
  channel?.postMessage({ type, userId: readFrontToken()?.uid ?? null });
}

/**
 * A cookie as it is stored, without percent-decoding. Of two with the same name the last one counts.
 *
 * @param {string} name
 * @returns {string | undefined}
 */
function cookie(name) {
  const [, ...values] = `; ${document.cookie}`.split(`; ${name}=`);
  return values.pop()?.split(";", 1)[0];
}

/**
 * Writes what an answer of the session's API says into the readable cookies, unless that server has done so itself.
 *
 * @param {Response} response
 * @param {string | null} unsaid what it means if the answer says nothing
 * @returns {Response} the same
 */
function keepCookies(response, unsaid = null) {
  const token = response.headers.get("front-token") ?? unsaid;
  const isKnown = token === (cookie(FRONT_TOKEN) ?? "remove") && cookie(LAST_UPDATE);
  if (!keepsCookies || !token || isKnown) return response;
  writeCookie(FRONT_TOKEN, token === "remove" ? null : token);
  writeCookie(LAST_UPDATE, String(Date.now()));
  if (response.headers.has("anti-csrf")) writeCookie(ANTI_CSRF, response.headers.get("anti-csrf"));
  return response;
}

/**
 * @param {string} name
 * @param {string | null} value null takes the cookie back
 */
function writeCookie(name, value) {
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${name}=${value ?? ""}; path=/; samesite=lax; max-age=${value === null ? 0 : KEPT_S}${secure}`;
}

/** @param {string} key */
function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // the browser refuses storage to this site
  }
}

/**
 * @param {string} key
 * @param {string} value
 * @returns {boolean} whether it will be there the next time
 */
function remember(key, value) {
  try {
    localStorage.setItem(key, value);
    return true;
  } catch {
    return false;
  }
}
