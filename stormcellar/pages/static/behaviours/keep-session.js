// SPDX-License-Identifier: MIT
import { attemptRefreshingSession, onSessionEvent, readFrontToken } from "../session.js";
import { loadAnew } from "./same-visitor.js";

const RECENTLY_MS = 5 * 60_000; // without a sign of life for that long nobody is working here
const PAUSE_AFTER_FAILURE_MS = 30_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1; // browsers take a longer one for none at all

/**
 * Renews the session shortly before it expires, while somebody is working on the page, so that this person never
 * meets the refresh page. Whoever comes back later has it renewed at the first sign of life.
 *
 * The server says how many seconds are left; they are counted with performance.now(), which no wrong clock touches.
 */
export function keepSession() {
  const lifetime = document.querySelector('meta[name="session-expires-in-s"]');
  if (!lifetime) return; // a page for anybody

  let timer = 0;
  let lastSign = performance.now();
  let dueAt = pageReceivedAt() + renewAfterMs(Number(lifetime.content) * 1000);

  function wait() {
    clearTimeout(timer);
    if (document.hidden) return;
    const leftMs = dueAt - performance.now();
    if (leftMs > 0) timer = setTimeout(wait, Math.min(leftMs, LONGEST_TIMER_MS));
    else if (performance.now() - lastSign < RECENTLY_MS) renew();
  }

  async function renew() {
    dueAt = performance.now() + PAUSE_AFTER_FAILURE_MS;
    const isRenewed = await attemptRefreshingSession().catch(() => null);
    if (isRenewed) countAnew();
    else if (isRenewed === null) wait(); // the server may be back in a moment
    else loadAnew(); // the session is gone
  }

  function countAnew() {
    const token = readFrontToken();
    if (!token) return;
    dueAt = performance.now() + renewAfterMs((token.up.exp - token.up.iat) * 1000);
    wait();
  }

  function noteSign() {
    lastSign = performance.now();
    if (lastSign >= dueAt) wait();
  }

  for (const sign of ["pointerdown", "keydown", "scroll"]) addEventListener(sign, noteSign, { passive: true });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) lastSign = performance.now();
    wait();
  });
  onSessionEvent(({ type }) => type === "renewed" && countAnew());
  wait();
}

/**
 * Long before the end for a long life (an hour: 12 minutes, five minutes: one), five seconds for a short one, and
 * never in the first half.
 *
 * @param {number} lifeMs what is left of the access token's life
 */
const renewAfterMs = (lifeMs) => Math.max(lifeMs / 2, Math.min(lifeMs * 0.8, lifeMs - 5000));

/** The moment, for performance.now(), in which the server's answer began to arrive. */
const pageReceivedAt = () => performance.getEntriesByType("navigation")[0]?.responseStart ?? 0;
