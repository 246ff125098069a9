const REASONS: Readonly<Record<string, string>> = {
	ENOENT: "no such file or folder",
	EACCES: "permission denied",
	EPERM: "permission denied",
	ENOSPC: "the disk is full",
	EROFS: "the file system is read-only",
	EDQUOT: "the disk quota is used up",
	EFBIG: "the file system does not take files of this size",
	ENOTDIR: "a part of the path is not a folder",
	EISDIR: "it is a folder",
	ELOOP: "too many symbolic links",
	ENAMETOOLONG: "the name is too long",
	EMFILE: "too many files are open",
	EIO: "the disk failed to read or write",
};

/** Why the operating system refused, in words. */
export function reasonOf(error: unknown): string {
	const reason = isSystemError(error) ? REASONS[error.code] : undefined;
	return reason ?? (error instanceof Error ? error.message : String(error));
}

/** Does the error come from the operating system rather than from a bug? */
export function isSystemError(error: unknown): error is Error & { readonly code: string } {
	return error instanceof Error && "code" in error && "syscall" in error;
}
