import { chooseQparamsKernel } from "./choose-qparams-kernel.js";
import type { LinearKernel } from "./define-linear.js";
import type { Kernel } from "./kernel.js";
import { linearDq8caQ4gsw } from "./linear-dq8ca-q4gsw.js";
import { linearDq8caQ8csw } from "./linear-dq8ca-q8csw.js";
import { linearLpbq } from "./linear-lpbq.js";
import { linearQ4gsw } from "./linear-q4gsw.js";
import { linearQ8csw } from "./linear-q8csw.js";
import { linearQcs4w } from "./linear-qcs4w.js";
import { linearQga4w } from "./linear-qga4w.js";
import { linearQta8aQga4w } from "./linear-qta8a-qga4w.js";
import { linearQta8aQga4wQta8o } from "./linear-qta8a-qga4w-qta8o.js";

/** Every linear kernel. */
export const LINEAR_KERNELS: readonly LinearKernel[] = [
	linearQta8aQga4wQta8o,
	linearQta8aQga4w,
	linearDq8caQ4gsw,
	linearQ4gsw,
	linearQga4w,
	linearQcs4w,
	linearDq8caQ8csw,
	linearQ8csw,
	linearLpbq,
];

/** All that implementations can be checked against. */
export const KERNELS: readonly Kernel[] = [...LINEAR_KERNELS, chooseQparamsKernel];
