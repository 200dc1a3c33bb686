// SPDX-License-Identifier: MIT

/**
 * Takes the fragment of the address (#part) along through a form or a link. The page that somebody wanted to see
 * before signing in then opens at that part: browsers carry a fragment through redirects, but not through a form.
 *
 * @param {HTMLFormElement | HTMLAnchorElement} element
 */
export function keepFragment(element) {
  const address = element instanceof HTMLFormElement ? "action" : "href";
  element.setAttribute(address, element.getAttribute(address) + location.hash);
}
