// SPDX-License-Identifier: MIT

/**
 * Shows a moment in the visitor's own language and time zone; the server wrote it in UTC.
 *
 * @param {HTMLTimeElement} element
 */
export function localTime(element) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  element.title = element.textContent;
  element.textContent = format.format(new Date(element.dateTime));
}
