"""The stack to leave: XGBoost leaves into a TensorFlow logistic regression."""
