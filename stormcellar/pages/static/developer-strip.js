// SPDX-License-Identifier: MIT
/** Counts down the seconds in the developer strip. Only pages in development load this. */

import { readFrontToken } from "./session.js";

const TICK_MS = 1000;
const seconds = document.querySelector("[data-seconds-left]");
let known = readFrontToken()?.up.exp;
let endsAt = performance.now() + Number(seconds.dataset.secondsLeft) * 1000;

setInterval(() => {
  const { exp, iat } = readFrontToken()?.up ?? {};
  if (exp !== undefined && exp !== known) {
    known = exp; // renewed meanwhile, here or in another tab
    endsAt = performance.now() + (exp - iat) * 1000;
  }
  seconds.textContent = Math.max(0, Math.round((endsAt - performance.now()) / 1000));
}, TICK_MS);
