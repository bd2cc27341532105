"""`llmcourse quantize-exl2`: one measurement, then one EXL2 model for each number of bits per weight."""
