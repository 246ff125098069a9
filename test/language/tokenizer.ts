/** A tokenizer.json of words: letters a to c, `ab` and `ba`. */
export const TOKENIZER = {
	version: "1.0",
	truncation: null,
	padding: null,
	added_tokens: [
		{
			id: 0,
			content: "<unk>",
			single_word: false,
			lstrip: false,
			rstrip: false,
			normalized: false,
			special: true,
		},
	],
	normalizer: null,
	pre_tokenizer: { type: "Whitespace" },
	post_processor: null,
	decoder: null,
	model: {
		type: "BPE",
		dropout: null,
		unk_token: "<unk>",
		continuing_subword_prefix: null,
		end_of_word_suffix: null,
		fuse_unk: false,
		byte_fallback: false,
		vocab: { "<unk>": 0, a: 3, b: 4, c: 5, ab: 6, ba: 7 },
		merges: [
			["a", "b"],
			["b", "a"],
		],
	},
};
