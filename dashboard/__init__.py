"""The Streamlit dashboard: app.py lists its pages in views/."""
