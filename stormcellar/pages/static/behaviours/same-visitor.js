// SPDX-License-Identifier: MIT
import { announceVisitor, onSessionEvent, readFrontToken } from "../session.js";

/**
 * Loads the page anew when it was made for somebody else than the person who is signed in now: another tab signed in
 * or out, or the browser shows a copy that it kept (Back, prefetch, prerender).
 */
export function sameVisitor() {
  const visitor = () => readFrontToken()?.uid;
  const madeFor = document.querySelector('meta[name="session-user"]')?.content;
  const { deliveryType } = performance.getEntriesByType("navigation")[0] ?? {};
  const isCopy = document.prerendering || Boolean(deliveryType);
  // On a page fresh from the server the cookie is the measure: where scripts cannot read it, nothing ever changes.
  const expected = isCopy ? madeFor ?? visitor() : visitor();

  function check() {
    if (!document.prerendering && visitor() !== expected) loadAnew();
  }

  check();
  announceVisitor();
  onSessionEvent(check);
  addEventListener("pageshow", (event) => event.persisted && check());
  document.addEventListener("prerenderingchange", check);
  document.addEventListener("visibilitychange", () => document.hidden || check());
}

/** Asks for this page again. Unlike reload() it never sends a form a second time whose answer this page is. */
export function loadAnew() {
  location.replace(location.pathname + location.search);
}
