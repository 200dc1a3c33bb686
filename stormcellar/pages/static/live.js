// SPDX-License-Identifier: MIT
/**
 * A WebSocket that belongs to the session: it outlives renewals, and connects again only where that makes sense.
 *
 *   const line = openLine("/ws/prices", { onMessage: (text) => ..., onEnd: (why) => ... });
 *   line.send("hello");
 *   line.close();
 *
 * The server closes with 4001 when the session has ended, 4003 when its token's time was over and nobody renewed,
 * 4004 when the session may not do this any more. All other ends are accidents: a server that restarts, a network
 * that comes and goes.
 *
 * With `renews: false` the line keeps nobody signed in: it ends, as "not-renewed", when the access token does, unless
 * something else on the page has renewed the session by then.
 *
 * @typedef {"signed-out" | "forbidden" | "not-renewed"} Ending
 */

import { attemptRefreshingSession } from "./session.js";

const SIGNED_OUT = 4001;
const NOT_RENEWED = 4003;
const FORBIDDEN = 4004;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const RENEW = '{"session": "renew"}';

/**
 * @param {string} path a path of this site
 * @param {{onMessage?: (text: string) => void, onOpen?: () => void, onEnd?: (why: Ending) => void, renews?: boolean}} options
 *   `onEnd` is called once, when the line will not come back by itself
 * @returns {{send: (text: string) => boolean, close: () => void}} `send` says whether the line was open
 */
export function openLine(path, { onMessage, onOpen, onEnd, renews = true } = {}) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  let socket = null;
  let pauseMs = FIRST_PAUSE_MS;
  let isOver = false;

  function connect() {
    if (isOver) return;
    let wasOpen = false;
    socket = new WebSocket(address);
    socket.onopen = () => {
      wasOpen = true;
      pauseMs = FIRST_PAUSE_MS;
      onOpen?.();
    };
    socket.onmessage = ({ data }) => {
      if (data !== RENEW) onMessage?.(data);
      else if (renews) renew();
    };
    socket.onclose = ({ code }) => {
      if (isOver) return;
      if (code === SIGNED_OUT) end("signed-out");
      else if (code === FORBIDDEN) end("forbidden");
      else if (code === NOT_RENEWED && !renews) end("not-renewed");
      else if (code === NOT_RENEWED || (!wasOpen && renews)) renewAndConnect();
      else if (renews || pauseMs < LONGEST_PAUSE_MS) connectSoon();
      else end("not-renewed"); // a page may not see why a handshake is refused again and again
    };
  }

  /** A page may not see why a handshake was refused; an expired token is the usual reason. */
  async function renewAndConnect() {
    const isSignedIn = await renew();
    if (isSignedIn === false) end("signed-out");
    else connectSoon();
  }

  /** Pauses grow, and differ from page to page: when a server comes back, not all knock at once. */
  function connectSoon() {
    setTimeout(connect, pauseMs * (0.5 + Math.random()));
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }

  function end(why) {
    if (isOver) return;
    isOver = true;
    onEnd?.(why);
  }

  connect();
  return {
    send(text) {
      if (socket?.readyState !== WebSocket.OPEN) return false;
      socket.send(text);
      return true;
    },
    close() {
      isOver = true;
      socket?.close();
    },
  };
}

/** @returns {Promise<boolean | null>} null: the server could not tell */
const renew = () => attemptRefreshingSession().catch(() => null);
