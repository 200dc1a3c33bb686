// SPDX-License-Identifier: MIT
import { signOut } from "../session.js";

/**
 * Signs out without leaving for the API server: not every one has a page for that. Without scripts the form goes there.
 *
 * @param {HTMLFormElement} form
 */
export function signOutByScript(form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    signOut().then(() => location.assign("/"), () => form.submit());
  });
}
