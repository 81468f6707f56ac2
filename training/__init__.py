"""From packages to a model that fills in the middle: gather, examples, finetune, export. Not shipped."""
